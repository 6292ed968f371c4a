// Command asynqmon is Asynq's web UI, as it is released, with the Asynq it names: 0.24.1, the oldest peer that tests meet;
// and that Asynq itself. ADDRESS is HOST:PORT of Redis, or what else connection reads.
//
//	asynqmon web    ADDRESS      serve the UI's handler on loopback; its own program listens on every interface
//	asynqmon serve  ADDRESS      run a server, with the outcomes of tests/interop/peer/server.go
//	asynqmon submit ADDRESS      enqueue tasks, one JSON object a line on stdin
//
// The first two end when stdin is closed.
package main

import (
	"fmt"
	"os"
)

var commands = map[string]func(address string) error{"web": web, "serve": serve, "submit": submit}

func main() {
	if len(os.Args) != 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: asynqmon web|serve|submit ADDRESS")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
