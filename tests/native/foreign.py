"""Arrays on a device as other libraries give them."""

from __future__ import annotations


class Interface:
    """An array of another library on a device: what the CUDA array interface tells, and no more."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__


class Named(Interface):
    """An array on a device that says on which stream it is made, as CuPy's do."""

    def __init__(self, array, stream):
        super().__init__(array)
        self._stream = stream

    @property
    def __cuda_array_interface__(self):
        return {**super().__cuda_array_interface__, "stream": self._stream}

    def __getattr__(self, name):
        return getattr(self.array, name)
