"""What an import takes from a node besides the image: recorded before it is taken, and restored:
`taken read|begin|insert|put_back|end DIRECTORY ...`.

The record is DIRECTORY/.breakglass.json: `{"schema": 1, "namespace": ..., "files": {PATH:
{"original": {...} or null, "made": [directories], "written": text}}}`. Results go to stdout as one
line of JSON.
"""

MARK = "# added by breakglass"
"""How the first line begins that we put into a file."""
