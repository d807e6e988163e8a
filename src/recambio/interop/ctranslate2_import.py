"""The one place that imports CTranslate2.

It is to come before torch: each brings an OpenMP runtime, and the one that is loaded first serves both. So this module imports nothing
heavy, and `recambio translate --engine ctranslate2` calls it before anything else.
"""

from __future__ import annotations

from types import ModuleType

from recambio.errors import InputError


def ctranslate2() -> ModuleType:
    """The package.

    Raises:
        InputError: It isn't installed.
    """
    try:
        import ctranslate2 as package
    except ImportError as error:
        raise InputError(
            "ctranslate2: the package is not installed; pip install 'recambio[ctranslate2]' (or pip install ctranslate2)"
        ) from error
    return package  # type: ignore[no-any-return]
