"""The one error a user can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the value and the fix; the command
    line prints it alone and exits with status 2.
    """
