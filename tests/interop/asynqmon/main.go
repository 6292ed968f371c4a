// Command asynqmon serves the handler of Asynq's web UI on loopback. Its own program listens on every interface.
//
//	asynqmon HOST:PORT      of Redis, or another address that connection reads; prints the URL of the REST API, and ends when stdin is closed
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/hibiken/asynqmon"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: asynqmon HOST:PORT")
		os.Exit(2)
	}
	handler := asynqmon.New(asynqmon.Options{RedisConnOpt: connection(os.Args[1])})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s/api\n", listener.Addr())
	go func() { _ = http.Serve(listener, handler) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = handler.Close()
}
