package main

import (
	"strings"

	"github.com/hibiken/asynq"
)

// connection reads host:port, cluster:host:port,… or sentinel:<master>:host:port,…
func connection(address string) asynq.RedisConnOpt {
	if nodes, found := strings.CutPrefix(address, "cluster:"); found {
		return asynq.RedisClusterClientOpt{Addrs: strings.Split(nodes, ",")}
	}
	if watched, found := strings.CutPrefix(address, "sentinel:"); found {
		master, nodes, _ := strings.Cut(watched, ":")
		return asynq.RedisFailoverClientOpt{MasterName: master, SentinelAddrs: strings.Split(nodes, ",")}
	}
	return asynq.RedisClientOpt{Addr: address}
}
