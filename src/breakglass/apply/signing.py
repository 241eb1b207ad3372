"""Signing a record: only one that has what the plan asked for."""

from breakglass.apply.failures import Explain, check_run
from breakglass.errors import RUN_AGAIN, Integrity
from breakglass.observe.record import parse_records
from breakglass.plan import Sign
from breakglass.ports import Writes


def sign(step: Sign, hosts: Writes, explain: Explain) -> None:
    """Read the record, look at it, sign it. Raises Integrity where it is another one."""
    printed = hosts.ask(step.source.host, *step.source.pipeline)
    check_run(step.source, printed, explain)
    why = _difference(step, printed.stdout)
    if why:
        raise Integrity(
            f"{step.host}: the record is not signed: {why}",
            state="Nothing was published.",
            next_step=RUN_AGAIN,
        )
    check_run(step.sink, hosts.sign(step, printed.stdout), explain)


def _difference(step: Sign, content: bytes) -> str:
    """What is in the record that was not asked for; empty: nothing."""
    records = parse_records(content)
    if len(records) != 1 or records[0].signed_bytes != content:
        return "it is not one complete record in our form"
    (record,) = records
    recorded = record.image_ids
    known = {name: image_id for name, image_id in step.images if image_id is not None}
    if record.tag != step.tag:
        return f"its tag is {record.tag}, not {step.tag}"
    if record.sequence != step.sequence:
        return f"its sequence is {record.sequence}, not {step.sequence}"
    if recorded.keys() != {name for name, _ in step.images}:
        return f"it names {', '.join(recorded)}"
    wrong = [name for name, image_id in known.items() if recorded[name] != image_id]
    return f"{wrong[0]} is image ID {recorded[wrong[0]]} in it" if wrong else ""
