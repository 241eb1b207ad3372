"""Ask registries what they would give the containerd of this host: `registries QUESTIONS
[SECONDS]`. It only asks, and changes nothing.

QUESTIONS is JSON, a list of {"registry", "endpoints": [{"url", "override_path", "ca": [PATH],
"client": [[CERTIFICATE, KEY]], "skip_verify"}], "repository", "tags", "architecture"}; an endpoint
needs its url only. The answer is one line of JSON, a list of {"registry", "url", "repository",
"tag", "state", "detail", "missing"}, for each endpoint and tag in their order. The states: serves,
broken (it is announced, and parts of it are missing or wrong), lacks (404), refuses (also without a
login), not trusted (its certificate), unreachable. Whatever has no answer after SECONDS (8) is
unreachable.

No login is used. The proxy is that of the running containerd's environment; this script's own
environment does not count. A manifest counts when its bytes hash to its digest, a blob when bytes
of it come and it has its length.
"""
