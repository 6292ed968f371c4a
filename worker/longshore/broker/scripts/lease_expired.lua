-- Find active tasks that no server holds: the lease ended, or there is none.
--
-- KEYS[1] asynq:{<queue>}:lease    zset
-- KEYS[2] asynq:{<queue>}:active   list
-- ARGV[1] cutoff                   Unix seconds; leases that ended then or before
-- ARGV[2] limit                    1 to 1000
-- ARGV[3] asynq:{<queue>}:t:       prefix of the tasks' keys
--
-- Reply: {id, msg, id, msg, …}; msg is nil for a task that has none. Nothing is written.
--
-- Atomic so that a task on its way between the active list and the lease set is not taken for an abandoned one.
local reply = {}
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[2])
local function add(id)
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call("HGET", ARGV[3] .. id, "msg")
end
for i = 1, #ids do
  add(ids[i])
end
-- the two lengths agree unless something went wrong, so the list is walked rarely
if redis.call("LLEN", KEYS[2]) ~= redis.call("ZCARD", KEYS[1]) then
  local active = redis.call("LRANGE", KEYS[2], 0, -1)
  for i = 1, #active do
    if #reply >= 2 * ARGV[2] then
      break
    end
    if not redis.call("ZSCORE", KEYS[1], active[i]) then
      add(active[i])
    end
  end
end
return reply
