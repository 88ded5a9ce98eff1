"""Names to things: a dict whose missing key is a helpful error."""

from typing import Generic, TypeVar

from plfeat.errors import unknown

T = TypeVar("T")


class Registry(dict[str, T], Generic[T]):
    """`Registry("dataset", toy=read_folder)["toi"]` raises: unknown dataset 'toi'; did you mean 'toy'?"""

    def __init__(self, kind: str, /, **entries: T) -> None:
        super().__init__(entries)
        self.kind = kind

    def __missing__(self, name: str) -> T:
        raise unknown(self.kind, name, self)
