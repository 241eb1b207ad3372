module breakglass/lab/tarlist

go 1.26.6
