// Command kindconfig reads a kind configuration from stdin as kind does: into kind's own types, unknown fields refused,
// defaults set; and prints it as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	decoder := yaml.NewDecoder(os.Stdin)
	decoder.KnownFields(true)
	var cluster v1alpha4.Cluster
	if err := decoder.Decode(&cluster); err != nil {
		return err
	}
	v1alpha4.SetDefaultsCluster(&cluster)
	return json.NewEncoder(os.Stdout).Encode(cluster)
}
