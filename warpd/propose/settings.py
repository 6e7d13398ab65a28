"""Where branches are pushed: /etc/warpd/propose/settings.yaml, as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import yaml  # type: ignore[import-untyped]  # it ships no types
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from warpd.errors import EXIT_INVALID, WarpError
from warpd.intent.types import GitRef, GitUrl

HINT: Final = "see docs/operators-guide.md, Proposing by branches"
Prefix = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}/$")]
Person = Annotated[str, StringConstraints(pattern=r"^[^<>\x00-\x1f]{1,80} <[^<>\s]{3,120}>$")]


class RemoteSettings(BaseModel):
    """One repository.

    - `repository`: its URL, without a password.
    - `target`: the branch that changes are made for.
    - `prefix`: what names of our branches begin with.
    - `forge`: how a merge request is asked for: `gitlab` by push options, `gitea` (Forgejo too)
      by AGit, `none` for not at all.
    - `committer`: who has committed; the author is who proposed the change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

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


def read_settings(path: Path) -> RemoteSettings:
    """Read the file.

    Raises:
        WarpError: it cannot be read, or is wrong.
    """
    try:
        return RemoteSettings.model_validate(yaml.safe_load(path.read_bytes()))
    except ValidationError as failure:
        rows = failure.errors()
        text = "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows)
    except yaml.YAMLError:
        text = "is no YAML"
    except OSError as failure:
        text = str(failure.strerror)
    raise WarpError(f"{path}: {text}", who="operator", exit_code=EXIT_INVALID, hint=HINT)
