-- Archive a task that is not running, and trim the archive.
--
-- KEYS[1] asynq:{<queue>}:t:<id>     hash, the task
-- KEYS[2] asynq:{<queue>}:archived   zset
-- KEYS[3] asynq:{<queue>}:groups     set
-- KEYS[4] longshore:{<queue>}:archive  hash, the limits of the archive, if it has any of its own
-- ARGV[1] id
-- ARGV[2] asynq:{<queue>}:           prefix of the queue's keys
-- ARGV[3] now                        Unix seconds
-- ARGV[4] cutoff                     Unix seconds; what was archived then or before is deleted
-- ARGV[5] size                       the archive keeps so many tasks, the newest
-- ARGV[6] chunk                      at most so many are deleted for each of the two reasons
--
-- Reply:  1 it is archived
--         0 there is no such task
--        -1 it is archived already
--        -2 it is active
--        -3 it is not where its state says; nothing was written
--        -4 it is in no group: it is being aggregated; nothing was written
--
-- Atomic so that the task is in one container only. msg and counters stay as they are. Unlike Asynq's, trimming deletes
-- the tasks' hashes too, so that their ids can be used again.
redis.call("ZCARD", KEYS[2]) -- fails here, before anything is written, when it is of another type
local fields = redis.call("HMGET", KEYS[1], "state", "group")
local state, group = fields[1], fields[2]
if not state then
  return 0
elseif state == "archived" then
  return -1
elseif state == "active" then
  return -2
end
local left = leave_waiting(ARGV[1], state, group, ARGV[2], KEYS[3])
if left ~= 1 then
  return left
end
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1])
redis.call("HSET", KEYS[1], "state", "archived")
-- a task that is run again later waits from then on, not from before
redis.call("HDEL", KEYS[1], "pending_since")
trim_archive(KEYS[2], ARGV[2] .. "t:", KEYS[4], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6])
return 1
