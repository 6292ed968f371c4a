-- Delete a task that is not running, and free its lock.
--
-- KEYS[1] asynq:{<queue>}:t:<id>   hash, the task
-- KEYS[2] asynq:{<queue>}:groups   set
-- ARGV[1] id
-- ARGV[2] asynq:{<queue>}:         prefix of the queue's keys
--
-- Reply:  1 deleted
--         0 there is no such task
--        -1 it is active
--        -3 it is not where its state says; nothing was written
--        -4 it is in no group: it is being aggregated; nothing was written
--
-- Atomic so that no container keeps an id without a hash.
local fields = redis.call("HMGET", KEYS[1], "state", "group", "unique_key", "msg")
local state, group = fields[1], fields[2]
if not state then
  return 0
elseif state == "active" then
  return -1
end
local left = leave_waiting(ARGV[1], state, group, ARGV[2], KEYS[2])
if left ~= 1 then
  return left
end
local lock = lock_of(ARGV[2], fields[3], fields[4])
if lock and redis.pcall("GET", lock) == ARGV[1] then
  redis.call("DEL", lock)
end
redis.call("DEL", KEYS[1])
return 1
