"""The command line: each verb is a module of `commands`. Nothing heavy is imported before a verb runs, so help is quick."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from firstsight import __version__, commands, terminal
from firstsight.errors import InputError
from firstsight.suggestions import unknown

SAYS: dict[str, terminal.Verbosity] = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}
NO_RIGHT_OR_ROOM = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG}


def main() -> None:
    """Runs a command. What a user can fix ends in one line on stderr and exit status 2, Ctrl-C in status 130."""
    try:
        try:
            run(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()
    except InputError as error:
        fail(error)
    except OSError as error:
        if error.errno not in NO_RIGHT_OR_ROOM:
            raise
        fail(f"{error.filename or 'disk'}: {error.strerror}; nothing finished is lost")
    except KeyboardInterrupt:
        print("\nfirstsight: stopped; the same command continues where it stopped", file=sys.stderr)
        sys.exit(130)


def run(arguments: Sequence[str]) -> None:
    """Runs the verb that the arguments name. Raises InputError where there is no such verb."""
    for argument in arguments:
        terminal.set_verbosity(SAYS.get(argument, terminal.verbosity()))
    verb, *rest = [argument for argument in arguments if argument not in SAYS] or ["--help"]
    if terminal.verbosity() == "verbose":
        logging.basicConfig(level=logging.INFO)
    if verb in ("-h", "--help"):
        commands.print_help()
    elif verb == "--version":
        terminal.say(f"firstsight {__version__}")
    elif verb.startswith("--tyro-"):
        commands.complete()
    elif verb in commands.VERBS:
        require_once(rest)
        import_module(f"firstsight.commands.{verb}").main(rest)
    else:
        raise InputError(unknown(verb, "command", commands.VERBS, "firstsight --help"))


def require_once(arguments: Sequence[str]) -> None:
    """Raises InputError for a flag that is given twice, of which the last would count without a word."""
    flags = [argument.split("=", 1)[0] for argument in arguments if argument.startswith("--") and argument != "--"]
    for flag in flags:
        if flags.count(flag) > 1:
            raise InputError(f"{flag} is given twice; give it once, with all values behind it where it takes several")


def fail(message: object) -> None:
    """Ends with one line on stderr and exit status 2."""
    if terminal.verbosity() == "verbose":
        traceback.print_exc()
    terminal.complain(message)
    sys.exit(2)


def end_quietly() -> None:
    """Ends as a program does whose reader has seen enough, as `head` has: nothing is said of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)
