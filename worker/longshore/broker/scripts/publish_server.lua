-- Write a worker server's state and its running tasks.
--
-- KEYS[1] asynq:servers:{<host>:<pid>:<id>}   string
-- KEYS[2] asynq:workers:{<host>:<pid>:<id>}   hash
-- ARGV[1] lifetime                            seconds
-- ARGV[2] ServerInfo bytes
-- ARGV[3…] for each running task: id, WorkerInfo bytes
--
-- Reply: OK.
--
-- Atomic so that readers never see the running tasks half replaced.
redis.call("SETEX", KEYS[1], ARGV[1], ARGV[2])
redis.call("DEL", KEYS[2])
if #ARGV > 2 then
  for i = 3, #ARGV, 2000 do
    redis.call("HSET", KEYS[2], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
  end
  redis.call("EXPIRE", KEYS[2], ARGV[1])
end
return redis.status_reply("OK")
