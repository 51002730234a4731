"""Constants in the forms of other programs: what each is, and `read_any` for all of them."""

from .cheetah import open_cheetah
from .extra import from_extra
from .metadata import CorrectionMetadata, open_metadata, read_metadata
from .psi import open_psi
from .recognise import FORMS, Options, form_of, read_any

__all__ = [
    "FORMS",
    "CorrectionMetadata",
    "Options",
    "form_of",
    "from_extra",
    "open_cheetah",
    "open_metadata",
    "open_psi",
    "read_any",
    "read_metadata",
]
