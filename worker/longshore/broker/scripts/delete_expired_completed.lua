-- Delete completed tasks whose retention is over.
--
-- KEYS[1] asynq:{<queue>}:completed   zset
-- ARGV[1] now                         Unix seconds
-- ARGV[2] limit                       1 to 1000
-- ARGV[3] asynq:{<queue>}:t:          prefix of the tasks' keys
--
-- Reply: how many were deleted.
--
-- Atomic so that a task run again by hand at this moment is not deleted with the rest.
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[2])
if #ids > 0 then
  local keys = {}
  for i = 1, #ids do
    keys[i] = ARGV[3] .. ids[i]
  end
  redis.call("DEL", unpack(keys))
  redis.call("ZREM", KEYS[1], unpack(ids))
end
return #ids
