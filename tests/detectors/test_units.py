"""Numbers with units, as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.units import Quantity, check_photon_energy, convert, parse_quantity


@pytest.mark.parametrize(
    ("text", "units", "expected"),
    [
        ("0.7 photon", ("ADU", "keV", "photon", "sigma"), Quantity(0.7, "photon")),
        ("2 photons", ("photon",), Quantity(2.0, "photon")),
        ("1000ADU", ("ADU",), Quantity(1000.0, "ADU")),
        (" -1e3  ADU ", ("ADU",), Quantity(-1000.0, "ADU")),
        ("9300 eV", ("keV",), Quantity(9.3, "keV")),
        ("9.3 keV", ("eV", "keV"), Quantity(9.3, "keV")),
        ("118.5 mm", ("m",), Quantity(0.1185, "m")),
        ("0.12 m", ("mm", "m"), Quantity(0.12, "m")),
        ("4500 kHz", ("MHz",), Quantity(4.5, "MHz")),
        (Quantity(5.0, "sigma"), ("sigma",), Quantity(5.0, "sigma")),
    ],
)
def test_parse(text, units, expected):
    assert parse_quantity(text, option="x", units=units) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.7", 'has no unit; write it as measure.lit.threshold = "0.7 photon"'),
        (0.7, "has no unit"),
        ("0.7 kev", "Did you mean 'keV'"),
        ("0.7 foton", "Did you mean 'photon'"),
        ("0.7 mm", "is in mm; it must be in one of"),
        ("much", "is not a number with a unit"),
        ("1e999 keV", "not a finite number"),
        (True, "expected a number with a unit"),
        (None, "expected a number with a unit"),
    ],
)
def test_refused(text, message):
    with pytest.raises(BadInput, match=message) as error:
        parse_quantity(text, option="measure.lit.threshold")
    assert "measure.lit.threshold" in str(error.value)


@given(st.floats(1e-3, 1e3))
def test_photon_energy_and_wavelength_are_inverse(value):
    assert convert(convert(value, "keV", "nm"), "nm", "keV") == pytest.approx(value, rel=1e-14)


def test_conversions():
    assert convert(9300, "eV", "keV") == 9.3
    assert convert(0.1, "nm", "keV") == pytest.approx(12.398419843)
    for value, unit, to in ((1, "keV", "mm2"), (1, "ADU", "keV"), (-1, "nm", "keV")):
        with pytest.raises(BadInput):
            convert(value, unit, to)


def test_photon_energy_in_ev_is_noticed():
    assert check_photon_energy(9.3) == 9.3
    with pytest.raises(BadInput, match='Was "9300 eV" meant'):
        check_photon_energy(9300)
    for energy in (0, -9.3, float("nan")):
        with pytest.raises(BadInput, match=r"calibrate\.photon_energy"):
            check_photon_energy(energy)
