-- Create a pending task, taking its unique lock first when it has one.
--
-- KEYS[1] asynq:{<queue>}:t:<id>      hash, the task
-- KEYS[2] asynq:{<queue>}:pending     list
-- KEYS[3] the lock's key              string; absent when the task has no lock
-- ARGV[1] id
-- ARGV[2] msg                         TaskMessage bytes
-- ARGV[3] now                         Unix nanoseconds
-- ARGV[4] lifetime of the lock        seconds, when there is one
--
-- Reply:  1 created
--         0 a task of that id exists; nothing was written
--        -1 the lock is held; nothing was written
--
-- Atomic so that two producers of one id, or of one lock, cannot both succeed, and so that an id is never visible in
-- the list without its hash. Unlike Asynq's, an id conflict leaves no lock behind: it is tested before the lock is set.
local lock = KEYS[3]
if lock and redis.call("EXISTS", lock) == 1 then
  return -1
end
if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
redis.call("LPUSH", KEYS[2], ARGV[1]) -- first, because it fails when the key is of another type
if lock then
  redis.call("SET", lock, ARGV[1], "EX", ARGV[4])
  redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "pending", "pending_since", ARGV[3], "unique_key", lock)
else
  redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "pending", "pending_since", ARGV[3])
end
return 1
