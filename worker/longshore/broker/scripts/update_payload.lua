-- Replace the message of a task that is not running, and with it the lock it holds.
--
-- KEYS[1] asynq:{<queue>}:t:<id>   hash, the task
-- KEYS[2] the lock it may hold     string; absent when it stays as it is
-- KEYS[3] the lock it shall hold   string; absent as KEYS[2]
-- ARGV[1] id
-- ARGV[2] asynq:{<queue>}:         prefix of the queue's keys
-- ARGV[3] msg on which the new one is based
-- ARGV[4] new msg
--
-- Reply:  1 replaced
--         0 there is no such task
--        -1 it is running, completed, or being aggregated; nothing was written
--        -2 its msg is another by now; nothing was written
--        -3 another task holds the new lock; nothing was written
--
-- Atomic so that no change made since the message was read is undone, and so that the task is never without the lock
-- that belongs to its payload. Asynq's reads and writes in two steps and leaves the lock of the old payload.
local fields = redis.call("HMGET", KEYS[1], "msg", "state", "group")
local msg, state, group = fields[1], fields[2], fields[3]
if not state then
  return 0
elseif state == "active" or state == "completed" then
  return -1
elseif state == "aggregating" and not redis.call("ZSCORE", ARGV[2] .. "g:" .. (group or ""), ARGV[1]) then
  return -1
elseif msg ~= ARGV[3] then
  return -2
end
if KEYS[2] then
  if redis.call("EXISTS", KEYS[3]) == 1 then
    return -3
  end
  -- a lock that has run out stays so
  if redis.pcall("GET", KEYS[2]) == ARGV[1] then
    redis.call("RENAME", KEYS[2], KEYS[3])
  end
  redis.call("HSET", KEYS[1], "unique_key", KEYS[3])
end
redis.call("HSET", KEYS[1], "msg", ARGV[4])
return 1
