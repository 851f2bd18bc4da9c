// The testbed: the programs of a Kubernetes control plane in one file, so
// that they share one build and one copy of what they have in common. The
// first argument is the program to be; the rest are its own arguments. With
// -leash before it, the program ends when its standard input does, which is
// when its starter lets go or dies, however it dies.
package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	etcd "go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-leash" {
		go leash()
		os.Args = os.Args[1:]
	}
	if len(os.Args) < 2 {
		fail("usage: testbed [-leash] etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl ARGUMENTS")
	}
	// The programs read their name and arguments from os.Args.
	os.Args = os.Args[1:]
	if os.Args[0] == "etcd" {
		etcd.Main(os.Args)
		return
	}
	command, known := programs[os.Args[0]]
	if !known {
		fail("no program '%s' in the testbed", os.Args[0])
	}
	os.Exit(cli.Run(command()))
}

// patience is how long a program may take to end by itself. An API server
// whose etcd went first would wait for it much longer.
const patience = 10 * time.Second

// leash waits for the end of standard input and then ends the program. A
// pipe, because a parent-death signal follows the thread that forked, and
// threads of a test runner end before their tests' fixtures do.
func leash() {
	io.Copy(io.Discard, os.Stdin)
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(patience)
	os.Exit(1)
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(2)
}
