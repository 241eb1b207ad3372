import time
from tests.front.world import World
from tests.front.listing import timeless
def test_it(world: World) -> None:
    def t(name, f):
        s = time.monotonic(); r = f(); print(f"{name}: {time.monotonic()-s:.2f}"); return r
    t("reset", world.reset)
    for a in (["snapshot","--tag","0a1b2c3d","--dry-run"], ["snapshot","--tag","0a1b2c3d"], ["snapshot","--tag","0a1b2c3d"], ["fetch","k8s-node1"], ["fetch","k8s-node2", "--via", "operator"],["import","k8s-node1"],["pin","k8s-node1", "--yes"],["restore","--yes"],["check"]):
        e = t(" ".join(a), lambda: world.run(*a)); print(e.status, e.stdout, e.stderr)
    t("listing", lambda: timeless(world.estate.root))
