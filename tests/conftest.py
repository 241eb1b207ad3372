"""The state that every test begins with, whatever started it."""

import signal

# `nohup` ignores SIGHUP, a background job of a script SIGINT and SIGQUIT, and what is ignored stays
# so in every process that is started from here: programs under test would not hear the signals that
# tests send them. A handler that does nothing is not inherited: they get the default, and the tests
# themselves go on when the terminal is closed, which is what nohup is for.
for _number in set(signal.Signals) - {signal.SIGPIPE, signal.SIGXFSZ}:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
