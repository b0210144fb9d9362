"""Types of arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

Source = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="SRC")]]
TakePath = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TAKE")]]
Out = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
JsonFlag = Annotated[bool, tyro.conf.arg(name="json", help="one JSON object on standard output")]
