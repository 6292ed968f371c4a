-- Find active tasks that no server holds: the lease ended, or there is none.
--
-- KEYS[1] asynq:{<queue>}:lease    zset
-- KEYS[2] asynq:{<queue>}:active   list
-- ARGV[1] cutoff                   Unix seconds; leases that ended then or before
-- ARGV[2] limit                    1 to 1000
-- ARGV[3] asynq:{<queue>}:t:       prefix of the tasks' keys
--
-- Reply: {id, msg, id, msg, …}; msg is nil for a task that has none. A lease that ended and whose task is not active is
--        deleted: nobody else would, and enough of them would fill every reply. Nothing else is written.
--
-- Atomic so that a task on its way between the active list and the lease set is not taken for an abandoned one.
local reply = {}
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[2])
local function add(id)
  local msg = redis.pcall("HGET", ARGV[3] .. id, "msg")
  reply[#reply + 1] = id
  reply[#reply + 1] = type(msg) == "string" and msg -- false for a key of another type as well
end
-- Looking for each in a long list would take the list's length each time; for many, the list is read once instead. A few
-- are looked for from the tail: what was taken long ago is there.
local active
if #ids > 8 then
  active = {}
  for _, id in ipairs(redis.call("LRANGE", KEYS[2], 0, -1)) do
    active[id] = true
  end
end
for i = 1, #ids do
  local is_active = active and active[ids[i]] or not active and redis.call("LPOS", KEYS[2], ids[i], "RANK", -1)
  if is_active then
    add(ids[i])
  else
    redis.call("ZREM", KEYS[1], ids[i])
  end
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
