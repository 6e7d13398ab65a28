"""The command pull: fetch from the source of the YAML now, as the daemon does at its interval."""

from __future__ import annotations

import typer

from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service.views.render import VERSION
from warpd.service.workspace import Workspace, require_root


@app.command()
def pull(context: typer.Context, output_format: Output = Format.text) -> None:
    """Fetch the YAML from the repository that `source:` names, and verify it.

    A running warpd applies it at once.
    """
    workspace: Workspace = context.obj
    if workspace.checkout is None:
        hint = "write `source: {git: URL}` there, and put the networks into the repository"
        raise WarpError(
            f"{workspace.named} names no repository", code="no-source", who="operator", hint=hint
        )
    require_root("warpctl pull")
    found = workspace.checkout.pull()
    text = f"{workspace.checkout.origin}: {found.revision[:12]}"
    if not found.changed:
        text += ", as before"
    data = {
        "version": VERSION,
        workspace.checkout.kind: workspace.checkout.origin,
        "revision": found.revision,
        "changed": found.changed,
    }
    output.emit(data, text, output_format)
