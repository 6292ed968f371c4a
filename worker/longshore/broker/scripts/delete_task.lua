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
elseif state == "pending" then
  if redis.call("LREM", ARGV[2] .. state, 0, ARGV[1]) == 0 then
    return -3
  end
elseif state == "aggregating" then
  local key = ARGV[2] .. "g:" .. (group or "")
  if redis.call("ZREM", key, ARGV[1]) == 0 then
    return -4
  end
  if redis.call("ZCARD", key) == 0 then
    redis.call("SREM", KEYS[2], group)
  end
elseif redis.call("ZREM", ARGV[2] .. state, ARGV[1]) == 0 then
  return -3
end
local lock = lock_of(ARGV[2], fields[3], fields[4])
if lock and redis.pcall("GET", lock) == ARGV[1] then
  redis.call("DEL", lock)
end
redis.call("DEL", KEYS[1])
return 1
