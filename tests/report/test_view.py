"""The page that steps through kept shots: what it is given, who is answered, and that a browser shows it."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from http.client import HTTPConnection

import numpy as np
import pytest
import shotsieve
from shotsieve.cli import main
from shotsieve.errors import BadInput
from shotsieve.report.reduced import Reduced
from shotsieve.view.server import Viewer
from shotsieve.view.shots import KeptShots, _number


@pytest.fixture(scope="module")
def viewer(reduced):
    with Viewer(KeptShots(reduced)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(viewer, path, host=None):
    connection = HTTPConnection("127.0.0.1", viewer.server_port, timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_pictures_hold_every_pixel_of_the_detector_once(viewer, reduced):
    run = Reduced.open(reduced)
    about = json.loads(asked(viewer, "/about")[1])
    shots = np.flatnonzero(run.kept)
    assert about["shots"] == len(shots)
    assert about["unit"] == "keV"
    for number in range(about["shots"]):
        status, body = asked(viewer, f"/picture/{number}")
        assert status == 200
        picture = np.frombuffer(body, "<f4").reshape(about["rows"], about["columns"])
        frame = run.frames.read(number)
        # Nothing is turned by less than a right angle here, so every pixel is one point.
        np.testing.assert_array_equal(
            np.sort(picture[np.isfinite(picture)]), np.sort(frame[np.isfinite(frame)])
        )


def test_pictures_are_seen_along_the_beam(viewer, reduced):
    run = Reduced.open(reduced)
    about = json.loads(asked(viewer, "/about")[1])
    number = int(np.argmax([np.isfinite(run.frames.read(n)).sum() for n in range(about["shots"])]))
    picture = np.frombuffer(asked(viewer, f"/picture/{number}")[1], "<f4")
    picture = picture.reshape(about["rows"], about["columns"])
    frame = run.frames.read(number)
    centre, step = about["rings"]["centre"], 200e-6
    rows, columns = run.pixels.shape
    for module, ss, fs in ((3, 100, 50), (3, 500, 3), (4, 77, 120)):
        place = run.table.modules.index(module)
        x, y = run.pixels.centres[place * 512 + ss, fs, :2]
        column, row = int(centre[0] - x / step), int(centre[1] - y / step)
        np.testing.assert_array_equal(picture[row, column], frame[place, ss, fs])
    assert (rows, columns) == (len(run.table.modules) * 512, 128)


def test_values_are_the_row_of_the_table_and_peaks_lie_on_their_pixels(viewer, reduced):
    run = Reduced.open(reduced)
    about = json.loads(asked(viewer, "/about")[1])
    found = 0
    for number, row in enumerate(run.frames.rows.tolist()):
        told = json.loads(asked(viewer, f"/values/{number}")[1])
        values = told["values"]
        assert (values["train"], values["cell"]) == (run.table.train_id[row], run.table.cell_id[row])
        low, high = run.table.bounds("n_peaks")
        assert len(told["peaks"]) == (low[row] if low[row] == high[row] else len(told["peaks"]))
        picture = np.frombuffer(asked(viewer, f"/picture/{number}")[1], "<f4")
        picture = picture.reshape(about["rows"], about["columns"])
        peaks = run.peaks.of(row)
        found += len(peaks)
        for (x, y), peak in zip(told["peaks"], peaks, strict=True):
            around = picture[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
            assert np.nanmax(around) >= peak["max"] + peak["background"] - 1e-3
    assert found > 0


def test_resolution_rings_are_where_the_pixels_have_that_spacing(viewer, reduced):
    run = Reduced.open(reduced)
    about = json.loads(asked(viewer, "/about")[1])
    energy, step = run.settings["mode.photon_energy_kev"], 200e-6
    assert about["rings"]["radii"]
    for name, radius in about["rings"]["radii"]:
        two_theta = np.arctan(radius * step / run.pixels.distance_m)
        spacing = 1.2398419843320025 / energy / (2 * np.sin(two_theta / 2))
        assert f"{10 * spacing:g} \u00c5" == name or 10 * spacing == pytest.approx(float(name.split()[0]))


@pytest.mark.parametrize(
    "path", ["/picture/99999", "/values/-1", "/picture/x", "/../etc/passwd", "/nothing", f"/values/{9:05000}"]
)
def test_there_is_nothing_else(viewer, path):
    assert asked(viewer, path)[0] == 404


def test_pages_that_went_away_are_no_error(viewer, capfd):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", viewer.server_port)) as one:
            one.sendall(b"GET /picture/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close at once
    assert asked(viewer, "/picture/0")[0] == 200  # one after the other: the others are over
    assert "Traceback" not in capfd.readouterr().err


def test_only_this_machine_by_its_own_name_is_answered(viewer):
    assert viewer.server_address[0] == "127.0.0.1"
    assert asked(viewer, "/about", "evil.example:80")[0] == 403
    assert asked(viewer, "/about", f"localhost:{viewer.server_port}")[0] == 200


def test_a_browser_shows_a_shot(viewer, browser):
    page = browser(f"{viewer.url}?shot=2", "--virtual-time-budget=20000", "--window-size=1000,700")
    assert re.search(r'data-shown="2"', page)
    assert "lit_pixels" in page
    assert 'class="error"' not in page


def test_runs_with_nothing_to_show_are_refused(simulated, tmp_path):
    recipe = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}, "write": {"content": "raw"}}
    shotsieve.reduce(simulated.raw, recipe, tmp_path / "out", constants=simulated.constants, backend="cpu")
    with pytest.raises(BadInput, match="no calibrated frames: raw words were kept"):
        KeptShots(tmp_path / "out")
    assert main(["view", str(tmp_path / "out"), "--no-browser"]) == 1


def test_why_there_is_nothing_to_show(simulated, tmp_path):
    recipe = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}}
    shotsieve.reduce(simulated.raw, recipe, tmp_path / "out", constants=simulated.constants, backend="cpu")
    with pytest.raises(BadInput, match="holds no calibrated frames: no frames were written"):
        KeptShots(tmp_path / "out")


def test_values_are_json_even_if_they_are_infinite():
    assert [_number(*ends) for ends in ((2.0, 2.0), (np.inf, np.inf), (0.0, np.inf))] == [2.0, None, "0 to ?"]


def test_a_port_in_use_is_said(viewer, reduced):
    with pytest.raises(BadInput, match=f"port {viewer.server_port} cannot be used"):
        Viewer(viewer.shots, viewer.server_port)


def test_the_command_says_where_and_ends_with_ctrl_c(reduced, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "serve_forever", interrupted)
    assert main(["view", str(reduced), "--no-browser"]) == 0
    assert re.search(r"view          http://127\.0\.0\.1:\d+/", capsys.readouterr().out)
