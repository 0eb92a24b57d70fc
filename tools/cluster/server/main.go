// One binary that is the API of a Kubernetes cluster, for tests: etcd, the API server and kubectl.
// There are no nodes and no controllers; a test plants what they would.
//
//	server etcd|apiserver|kubectl [FLAGS]
//
// Each command is the one of Kubernetes or etcd itself, with its own flags.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

var commands = map[string]func() *cobra.Command{
	"apiserver": apiserver.NewAPIServerCommand,
	"kubectl":   kubectl.NewDefaultKubectlCommand,
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	name := os.Args[1]
	// The commands read their own arguments, the first of which is their name.
	os.Args = append([]string{filepath.Join(filepath.Dir(os.Args[0]), name)}, os.Args[2:]...)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := commands[name]
	if !known {
		usage()
	}
	os.Exit(cli.Run(command()))
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: server etcd|apiserver|kubectl [FLAGS]")
	os.Exit(2)
}
