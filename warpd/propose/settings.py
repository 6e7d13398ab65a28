"""Where branches are pushed: /etc/warpd/propose/settings.yaml, as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from warpd.intent.types import GitRef, GitUrl
from warpd.service.unit_settings import UnitSettings, read_settings

HINT: Final = "see docs/operators-guide.md, Proposing by branches"
Prefix = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}/$")]
Person = Annotated[str, StringConstraints(pattern=r"^[^<>\x00-\x1f]{1,80} <[^<>\s]{3,120}>$")]


class RemoteSettings(UnitSettings):
    """One repository.

    - `repository`: its URL, without a password.
    - `target`: the branch that changes are made for.
    - `prefix`: what names of our branches begin with.
    - `forge`: how a merge request is asked for: `gitlab` by push options, `gitea` (Forgejo too)
      by AGit, `none` for not at all.
    - `committer`: who has committed; the author is who proposed the change.
    """

    repository: GitUrl
    target: GitRef = "main"
    prefix: Prefix = "warpd/"
    forge: Literal["none", "gitlab", "gitea"] = "none"
    committer: Person = Field("warpd <warpd@localhost>")

    @property
    def committer_name(self) -> str:
        return self.committer.partition(" <")[0]

    @property
    def committer_email(self) -> str:
        return self.committer.partition(" <")[2].removesuffix(">")


def read_remote(path: Path) -> RemoteSettings:
    """Raises: WarpError: the file cannot be read, or is wrong."""
    return read_settings(path, RemoteSettings, HINT)
