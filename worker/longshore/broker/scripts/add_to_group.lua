-- Create a task that waits in a group, taking its unique lock first when it has one.
--
-- KEYS[1] asynq:{<queue>}:t:<id>       hash, the task
-- KEYS[2] asynq:{<queue>}:g:<group>    zset
-- KEYS[3] asynq:{<queue>}:groups       set
-- KEYS[4] the lock's key               string; absent when the task has no lock
-- ARGV[1] id
-- ARGV[2] msg                          TaskMessage bytes
-- ARGV[3] now                          Unix seconds
-- ARGV[4] group                        its name
-- ARGV[5] lifetime of the lock         seconds, when there is one
--
-- Reply and atomicity as in enqueue.lua. Unlike Asynq's, the hash names the lock, so that deleting the task frees it.
local lock = KEYS[4]
if lock and redis.call("EXISTS", lock) == 1 then
  return -1
end
if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
redis.call("SCARD", KEYS[3]) -- fails here, before anything is written, when it is of another type
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1])
redis.call("SADD", KEYS[3], ARGV[4])
redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "aggregating", "group", ARGV[4])
if lock then
  redis.call("SET", lock, ARGV[1], "EX", ARGV[5])
  redis.call("HSET", KEYS[1], "unique_key", lock)
end
return 1
