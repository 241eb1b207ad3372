"""What an error has to say: what is wrong, named; what state things are in; what to type."""

from ..runs import Ran


def reported(ran: Ran, *words: str) -> None:
    """The error block names all these, the state is reported, and what is to be done next."""
    error = ran.error
    missing = [word for word in words if word.lower() not in error["message"].lower()]
    assert not missing, f"{missing} not named: {error['message']}"
    assert error["state"], f"no state: {error}"
    assert error["next"], f"nothing to type: {error}"
    assert error["message"].isprintable(), error["message"]
