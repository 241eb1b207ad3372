"""The fields of SSH's binary format: RFC 4251, section 5."""


class Fields:
    """Reads the fields of a text of bytes, one after the other. Each raises ValueError where the
    text ends before the field does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, size: int) -> bytes:
        """So many bytes."""
        taken, self._data = self._data[:size], self._data[size:]
        if len(taken) < size:
            raise ValueError("it ends too early")
        return taken

    def number(self) -> int:
        """A uint32."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def word(self) -> str:
        """A string that is a name: printable ASCII. Raises ValueError for any other."""
        data = self.string()
        if not data.isascii() or not data.decode("ascii").isprintable():
            raise ValueError("a name in it is not printable")
        return data.decode("ascii")

    def integer(self) -> int:
        """An mpint that is not negative."""
        data = self.string()
        if data[:1] >= b"\x80":
            raise ValueError("a number in it is negative")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        """Raises ValueError where something follows."""
        if self._data:
            raise ValueError("something follows its end")


def string(data: bytes) -> bytes:
    """A string, as it is written."""
    return len(data).to_bytes(4, "big") + data
