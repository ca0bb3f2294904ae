"""The one error a user can cause."""


class InputError(Exception):
    """Something a user gave cannot be used.

    The message is one line that names the file or setting and how to fix it. The command line prints it and ends with
    exit status 2; every other exception is a defect of firstsight.
    """
