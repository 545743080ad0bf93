"""The command `tdw`: the door through which every command goes in, and comes out with an exit code.

Exit codes: 0; 2 for an error the user can act on (one line on standard error); 130 after Ctrl-C, 143 after SIGTERM and
129 when the terminal was closed, with all that was done stored and nothing left behind. Any other error is a fault of
this program: it keeps its traceback, and ends with 1.

Little is imported before `main`: what the user does in the first moments must not end in a traceback.
"""

from __future__ import annotations

from tdw import interrupts

TYPE_CHECKING = False  # the module `typing` takes longer to import than this one
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdw.cli.streams import Unfailing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Without `argv` it is that of the process, which this command then owns."""
    alone = argv is None
    listening = interrupts.Listening(alone=alone).__enter__()
    try:
        from tdw.cli import streams

        made = streams.open_missing()
        unfailing = streams.Unfailing().__enter__()
        try:
            code = _run(argv, unfailing)
            if alone:
                listening.ends_with(code)
            return _concluded(code, unfailing, listening if alone else None)
        finally:
            if not alone:
                unfailing.__exit__()
                streams.close_made(made)
    except KeyboardInterrupt:
        return interrupts.code()
    finally:
        if not alone:  # else signals and streams are looked after until the interpreter is gone
            listening.__exit__()


def _run(argv: Sequence[str] | None, unfailing: Unfailing) -> int:
    from tdw import os_errors
    from tdw.cli import commands
    from tdw.cli.streams import say
    from tdw.errors import TdwError

    try:
        unfailing.quiet = True  # help, version, and what is wrong with the command line
        arguments = commands.parsed(argv)
        unfailing.quiet = arguments.prints(arguments)
        return int(arguments.command(arguments) or 0)
    except TdwError as error:
        refused: str | None = str(error)
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:
        if interrupts.caused(error):
            return interrupts.code()
        refused = os_errors.sentence(error)
        if refused is None:
            raise
    say(f"tdw: {refused}", error=True)
    return 2


def _concluded(code: int, unfailing: Unfailing, listening: interrupts.Listening | None) -> int:
    """The exit code, now that all was printed: what does nothing but print has failed where that could not be written."""
    unfailing.flush()
    output = unfailing.output
    if unfailing.quiet and output.problem is not None and not isinstance(output.problem, BrokenPipeError):
        from tdw.cli.streams import say

        code = 2
        if listening is not None:
            listening.ends_with(code)
        say(f"tdw: {output.why()}: print to another place", error=True)
    return code
