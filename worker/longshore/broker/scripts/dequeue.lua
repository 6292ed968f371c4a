-- Take up to so many tasks of one queue, oldest first.
--
-- KEYS[1] asynq:{<queue>}:pending   list
-- KEYS[2] asynq:{<queue>}:paused    string
-- KEYS[3] asynq:{<queue>}:active    list
-- KEYS[4] asynq:{<queue>}:lease     zset
-- ARGV[1] limit                     1 to 1000
-- ARGV[2] end of the lease          Unix seconds
-- ARGV[3] asynq:{<queue>}:t:        prefix of the tasks' keys
--
-- Reply: 0 when nothing waits, -1 when the queue is paused, otherwise two lists:
--        {id, msg, id, msg, …} of the tasks taken, oldest first, and
--        the ids that had no hash, or a hash without a msg. Nothing can be run of those: they are gone from the queue,
--        and so is what was left of their hash. A key of another type in a hash's place stays: it is not ours.
--
-- A task that was run out of its group forgets the group: its next attempt is its own too. Asynq puts it back there.
--
-- Atomic so that a task has one taker, and is in the active list and leased from the moment it leaves the pending one.
-- Redis undoes nothing when a script fails, so whatever may fail does before the first write, or is passed over.
if redis.call("EXISTS", KEYS[2]) == 1 then
  return -1
end
-- the list's head is at index 0 and the oldest id at -1
local ids = redis.call("LRANGE", KEYS[1], -tonumber(ARGV[1]), -1)
local count = #ids
if count == 0 then
  return 0
end
-- fail here when one of the two is of another type
redis.call("LLEN", KEYS[3])
redis.call("ZCARD", KEYS[4])
redis.call("LTRIM", KEYS[1], 0, -count - 1)
local taken, active, leases, lost = {}, {}, {}, {}
for i = count, 1, -1 do
  local id = ids[i]
  local key = ARGV[3] .. id
  local msg = redis.pcall("HGET", key, "msg")
  if type(msg) == "string" then
    redis.call("HSET", key, "state", "active")
    redis.call("HDEL", key, "pending_since", "group")
    taken[#taken + 1] = id
    taken[#taken + 1] = msg
    active[#active + 1] = id
    leases[#leases + 1] = ARGV[2]
    leases[#leases + 1] = id
  else
    if not msg then
      redis.call("DEL", key)
    end
    lost[#lost + 1] = id
  end
end
if #active > 0 then
  redis.call("LPUSH", KEYS[3], unpack(active))
  redis.call("ZADD", KEYS[4], unpack(leases))
end
return {taken, lost}
