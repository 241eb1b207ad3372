"""The state that every test begins with, whatever started it."""

import os
import signal

# What the tool and the programs that it starts would take from whoever runs the tests.
INHERITED = (
    "BASH_ENV",
    "BREAKGLASS_CONFIG",
    "BREAKGLASS_SSH_KEY",
    "BREAKGLASS_SSH_KNOWN_HOSTS",
    "CDPATH",
    "CI_COMMIT_SHA",
    "COLUMNS",
    "CONTAINERD_NAMESPACE",
    "DOCKER_CONFIG",
    "ENV",
    "FORCE_COLOR",
    "GZIP",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "LINES",
    "NO_COLOR",
    "POSIXLY_CORRECT",
    "REGISTRY_AUTH_FILE",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)
for _name in INHERITED:
    os.environ.pop(_name, None)

# `nohup` ignores SIGHUP, a background job of a script SIGINT and SIGQUIT, and what is ignored stays
# so in every process that is started from here: programs under test would not hear the signals that
# tests send them. A handler that does nothing is not inherited: they get the default, and the tests
# themselves go on when the terminal is closed, which is what nohup is for.
for _number in set(signal.Signals) - {signal.SIGPIPE, signal.SIGXFSZ}:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
