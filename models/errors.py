"""The one error that bad datasets and artifacts raise."""


class ModelError(Exception):
    """A dataset or artifact that cannot be used; its text is one sentence a user can act on."""
