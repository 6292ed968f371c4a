-- Create a task that waits for its time, taking its unique lock first when it has one.
--
-- KEYS[1] asynq:{<queue>}:t:<id>      hash, the task
-- KEYS[2] asynq:{<queue>}:scheduled   zset
-- KEYS[3] the lock's key              string; absent when the task has no lock
-- ARGV[1] id
-- ARGV[2] msg                         TaskMessage bytes
-- ARGV[3] due                         Unix seconds
-- ARGV[4] lifetime of the lock        seconds from now, when there is one
--
-- Reply and atomicity as in enqueue.lua.
local lock = KEYS[3]
if lock and redis.call("EXISTS", lock) == 1 then
  return -1
end
if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1]) -- first, because it fails when the key is of another type
if lock then
  redis.call("SET", lock, ARGV[1], "EX", ARGV[4])
  redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "scheduled", "unique_key", lock)
else
  redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "scheduled")
end
return 1
