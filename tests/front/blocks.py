"""What an error looks like to the person in front of it."""

from tests.front.commands import Ended

WORDS = {2: "usage", 3: "refused", 4: "failed", 5: "unreachable", 6: "integrity", 7: "busy"}


def is_reported(ended: Ended, status: int, *words: str) -> str:
    """One block on stderr: what is wrong, the state, what to type next; no traceback, no control
    character. Returns the block.
    """
    assert ended.status == status, f"{ended.status}\n{ended.stdout}{ended.stderr}"
    assert ended.stderr.count(f"breakglass: {WORDS.get(status, 'signal')}: ") == 1, ended.stderr
    block = ended.stderr[ended.stderr.index("breakglass: ") :]
    message, state, following = (
        block.index("breakglass: "),
        block.index("\n  State: "),
        block.index("\n  Next:  "),
    )
    assert message < state < following
    assert block[following + len("\n  Next:  ") :].strip()
    for stream in (ended.stdout, ended.stderr):
        assert "Traceback" not in stream
        is_inert(stream)
    assert "breakglass: " not in ended.stdout.replace("Next: breakglass", "")
    missing = [word for word in words if word not in block]
    assert not missing, f"{missing} is not said in:\n{block}"
    return block


def is_inert(text: str) -> None:
    assert not [
        character for character in text if not character.isprintable() and character != "\n"
    ], repr(text)
