// Lists tar archives as containerd and docker read them, with Go's archive/tar: for each file that is
// named, one line of JSON with the name, type, size and sha256 of every entry, or with the error.
package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
)

type entry struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Size   int64  `json:"size"`
	Sha256 string `json:"sha256"`
}

type listing struct {
	Entries []entry `json:"entries"`
	Error   string  `json:"error"`
}

func main() {
	lines := json.NewEncoder(os.Stdout)
	for _, path := range os.Args[1:] {
		result := listing{Entries: []entry{}}
		if err := list(path, &result); err != nil {
			result.Error = err.Error()
		}
		if err := lines.Encode(result); err != nil {
			panic(err)
		}
	}
}

func list(path string, result *listing) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		hash := sha256.New()
		size, err := io.Copy(hash, reader)
		if err != nil {
			return err
		}
		result.Entries = append(result.Entries, entry{
			Name: header.Name, Type: string(header.Typeflag), Size: size,
			Sha256: hex.EncodeToString(hash.Sum(nil)),
		})
	}
}
