// Command peer is Asynq itself, the released library, as the tests meet it: its bytes, its Redis scripts, its client, its
// server and its inspector.
//
//	peer vectors                          Asynq's bytes for fixed values, as JSON
//	peer recode                           read and write messages with Asynq's codec, one a line on stdin
//	peer operate    --redis HOST:PORT     carry out broker operations, one JSON object a line on stdin
//	peer enqueue    --redis HOST:PORT …   enqueue tasks with the client
//	peer submit     --redis HOST:PORT     the same with any option, one JSON object a line on stdin
//	peer serve      --redis HOST:PORT …   run a server until stdin is closed; each task is one JSON line
//	peer schedule   --redis HOST:PORT …   run a scheduler until stdin is closed
//	peer inspect    --redis HOST:PORT …   what the inspector sees, as JSON
//	peer administer --redis HOST:PORT     act through the inspector, one JSON object a line on stdin
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var commands = map[string]func(arguments []string) error{
	"vectors":    vectors,
	"recode":     recode,
	"operate":    operate,
	"enqueue":    enqueue,
	"submit":     submit,
	"serve":      serve,
	"schedule":   schedule,
	"inspect":    inspect,
	"administer": administer,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peer vectors|recode|operate|enqueue|submit|serve|schedule|inspect|administer …")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// print writes one value as one line of JSON.
func print(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
