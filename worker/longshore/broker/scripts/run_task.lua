-- Let a waiting, archived or completed task run now.
--
-- KEYS[1] asynq:{<queue>}:t:<id>    hash, the task
-- KEYS[2] asynq:{<queue>}:pending   list
-- KEYS[3] asynq:{<queue>}:groups    set
-- ARGV[1] id
-- ARGV[2] asynq:{<queue>}:          prefix of the queue's keys
-- ARGV[3] now                       Unix nanoseconds
--
-- Reply:  1 it is pending
--         0 there is no such task
--        -1 it is active
--        -2 it is pending already
--        -3 it is not where its state says; nothing was written
--        -4 it is in no group: it is being aggregated; nothing was written
--
-- Atomic so that the task is in one container only. Unlike Asynq's, it records since when the task waits,
-- and the task forgets its group: it is to run by itself, also after a failure.
redis.call("LLEN", KEYS[2]) -- fails here, before anything is written, when it is of another type
local fields = redis.call("HMGET", KEYS[1], "state", "group")
local state, group = fields[1], fields[2]
if not state then
  return 0
elseif state == "active" then
  return -1
elseif state == "pending" then
  return -2
end
local left = leave_waiting(ARGV[1], state, group, ARGV[2], KEYS[3])
if left ~= 1 then
  return left
end
redis.call("LPUSH", KEYS[2], ARGV[1])
redis.call("HSET", KEYS[1], "state", "pending", "pending_since", ARGV[3])
redis.call("HDEL", KEYS[1], "group", "progress")
return 1
