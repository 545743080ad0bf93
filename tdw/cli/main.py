"""The entry point of `tdw`: runs a command and turns its errors into exit codes.

Exit codes: 0; 2 for an error the user can act on (one line on standard error); 75 where another process writes to the file; 130 after Ctrl-C, 143 after SIGTERM and
129 when the terminal was closed, with finished work stored and no temporary files left. Any other error is a bug: it
prints its traceback and exits with 1.

Little is imported before `main`, so that Ctrl-C during startup does not print a traceback.
"""

from __future__ import annotations

from tdw import interrupts

TYPE_CHECKING = False  # the module `typing` takes longer to import than this one
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdw.cli.streams import Unfailing


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process, which then belongs to this command). Returns the exit code."""
    alone = argv is None
    listening = interrupts.Listening(alone=alone).__enter__()
    try:
        from tdw.cli import streams

        opened = streams.open_missing()
        unfailing = streams.Unfailing(opened).__enter__()
        try:
            code = _run(argv, unfailing)
            if alone:
                listening.ends_with(code)
            return _exit_code(code, unfailing, listening if alone else None)
        finally:
            if not alone:
                unfailing.__exit__()
                streams.close_opened(opened)
    except KeyboardInterrupt:
        return interrupts.code()
    finally:
        if not alone:  # otherwise signals and streams are handled until the interpreter exits
            listening.__exit__()


def _run(argv: Sequence[str] | None, unfailing: Unfailing) -> int:
    from tdw import os_errors
    from tdw.cli import parser
    from tdw.cli.streams import say
    from tdw.errors import AlreadyExistsError, FileInUseError, TdwError

    code = 2

    try:
        unfailing.quiet = True  # help, version, and errors in the command line
        arguments = parser.parse(argv)
        unfailing.quiet = arguments.prints(arguments)
        return int(arguments.command(arguments) or 0)
    except AlreadyExistsError as error:
        message: str | None = error.told("--force" if hasattr(arguments, "force") else None)
    except TdwError as error:
        message = str(error)
        if isinstance(error, FileInUseError):
            code = error.exit_code
    except SystemExit as error:
        return int(error.code or 0)
    except Exception as error:
        if interrupts.caused(error):
            return interrupts.code()
        message = os_errors.sentence(error)
        if message is None:
            raise
    say(f"tdw: {message}", error=True)
    return code


def _exit_code(code: int, unfailing: Unfailing, listening: interrupts.Listening | None) -> int:
    """The exit code after printing. A command that only prints fails if its output could not be written."""
    unfailing.flush()
    output = unfailing.output
    if unfailing.quiet and output.problem is not None and not isinstance(output.problem, BrokenPipeError):
        from tdw.cli.streams import say

        code = 2
        if listening is not None:
            listening.ends_with(code)
        say(f"tdw: {output.why()}: redirect the output elsewhere", error=True)
    return code
