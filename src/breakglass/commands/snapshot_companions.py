"""Companions that cannot be had, copies of them in older tarballs, and so who gets the image."""

from breakglass.commands.image_names import repository_of
from breakglass.commands.record_names import foreign_names
from breakglass.commands.snapshot_docker import load_companions, pulls
from breakglass.commands.snapshot_facts import AUTO, DOCKER, REGISTRY, Facts, Missing
from breakglass.commands.snapshot_registry import sentence_of
from breakglass.errors import Refused, Unreachable
from breakglass.observe.shelf import Tarball
from breakglass.plan import Purpose, Step
from breakglass.ports import NO_LOGIN, said
from breakglass.ports import Result as Ended


def chosen_via(facts: Facts) -> str:
    """REGISTRY or DOCKER. Only docker can take a companion from an older tarball."""
    if facts.via != AUTO:
        return facts.via
    if facts.docker is not None and (facts.refusal or _copies(facts)):
        return DOCKER
    return REGISTRY


def companion_copies(facts: Facts) -> dict[str, Tarball]:
    """The newest good tarball that has a copy of each companion that cannot be had now. One without
    a copy is not among them: it is left out.
    """
    return _copies(facts) if chosen_via(facts) == DOCKER else {}


def _copies(facts: Facts) -> dict[str, Tarball]:
    """docker gets no name that is not ours."""
    useless = {missing.name for missing in facts.missing} | facts.bad
    configured = [reference for reference, _ in facts.published]
    copies = {}
    for reference in facts.unavailable:
        for tarball in facts.shelf.verified:
            record = tarball.record
            if record is None or tarball.file in useless:
                continue
            ours = (f"{repository_of(configured[0])}:{record.tag}",)
            is_ours = not foreign_names(record, ours, configured)
            if is_ours and reference in dict(record.companions):
                copies[reference] = tarball
                break
    return copies


def missing_after(facts: Facts, step: Step, ended: Ended) -> Missing | None:
    """What cannot be had because this step has failed: the run begins again without it. None: then
    the image is not saved.
    """
    if is_read_from_registry(facts, step):
        return _missing_in_registry(facts, ended)
    why = said(ended)
    for reference, _ in facts.published[1:]:
        if step == pulls(facts, reference)[0]:
            return Missing(reference, why)
    for tarball in companion_copies(facts).values():
        if step == load_companions(facts.shelf, tarball):
            return Missing(tarball.file, why)
    return None


def is_read_from_registry(facts: Facts, step: Step) -> bool:
    return step.purpose is Purpose.TRANSFERS and chosen_via(facts) == REGISTRY


def _missing_in_registry(facts: Facts, ended: Ended) -> Missing | None:
    sentence, status = sentence_of(ended), ended.exit_status
    is_of_image = sentence.startswith(f"{facts.published[0][0]}: ")
    # docker may have a proxy, a mirror or a registry without TLS that its daemon alone knows.
    is_away = status == Unreachable.exit_code and is_of_image and NO_LOGIN not in ended.stderr
    may_docker = is_away or status == Refused.exit_code
    if may_docker and facts.via == AUTO and facts.docker is not None:
        return Missing(REGISTRY, sentence)
    for reference, _ in facts.published[1:]:
        # The sentence begins with the reference that it is about.
        if reference not in facts.unavailable and sentence.startswith(f"{reference}: "):
            return Missing(reference, sentence)
    return None
