-- Replace the members of an aggregation set by one task, or by nothing.
--
-- KEYS[1] asynq:{<queue>}:g:<group>:<set id>       zset
-- KEYS[2] asynq:{<queue>}:aggregation_sets         zset
-- KEYS[3] asynq:{<queue>}:t:<id>                   hash, the new task; absent, with what follows, when there is none
-- KEYS[4] asynq:{<queue>}:pending                  list, or :scheduled, or :g:<group>, both zset: where it goes
-- KEYS[5] asynq:{<queue>}:groups                   set
-- KEYS[6] the new task's lock                      string; absent when it has no lock
-- ARGV[1] asynq:{<queue>}:t:                       prefix of the tasks' keys
-- ARGV[2] members                                  how many
-- ARGV[3…] for each member: id, lock's key ("" for none)
-- then, when there is a new task: its state (pending, scheduled or aggregating), id, msg, time (pending: now in Unix
--          nanoseconds; scheduled: due in Unix seconds; aggregating: now in Unix seconds), group ("" for none), lifetime
--          of the lock in seconds ("" for none)
--
-- Reply:  1 done: members, their locks and the set are gone, the task is there
--         0 nothing written: another task has the new one's id
--        -1 nothing written: another task holds the new one's lock
--        -2 nothing written: the set has gone, or has other members: it was finished, or given back to the group
--
-- Atomic so that whatever ends the server, or loses a reply, the members are aggregated exactly once. Asynq creates the
-- task and deletes the set in two steps, and creates it again when the second fails. Unlike Asynq's, the members' locks
-- are released.
local count = tonumber(ARGV[2])
if not redis.call("ZSCORE", KEYS[2], KEYS[1]) or redis.call("ZCARD", KEYS[1]) ~= count then
  return -2
end
local state, id, msg, time, group, lifetime = unpack(ARGV, 3 + 2 * count)
local lock = KEYS[6]
if state then
  -- what a member has in the way is gone when the task is created
  local holder = lock and redis.pcall("GET", lock)
  if holder and (type(holder) == "table" or not redis.call("ZSCORE", KEYS[1], holder)) then
    return -1
  end
  if redis.call("EXISTS", KEYS[3]) == 1 and not redis.call("ZSCORE", KEYS[1], id) then
    return 0
  end
  -- fail here, before anything is written, when one is of another type
  redis.call(state == "pending" and "LLEN" or "ZCARD", KEYS[4])
  redis.call("SCARD", KEYS[5])
end

for start = 1, count, 1000 do
  local keys = {}
  for i = start, math.min(start + 999, count) do
    local member, lock_of_member = ARGV[1 + 2 * i], ARGV[2 + 2 * i]
    if lock_of_member ~= "" and redis.pcall("GET", lock_of_member) == member then
      redis.call("DEL", lock_of_member)
    end
    keys[#keys + 1] = ARGV[1] .. member
  end
  redis.call("DEL", unpack(keys))
end
redis.call("DEL", KEYS[1])
redis.call("ZREM", KEYS[2], KEYS[1])

if state then
  if state == "pending" then
    redis.call("LPUSH", KEYS[4], id)
    redis.call("HSET", KEYS[3], "pending_since", time)
  else
    redis.call("ZADD", KEYS[4], time, id)
  end
  redis.call("HSET", KEYS[3], "msg", msg, "state", state)
  if group ~= "" then
    redis.call("HSET", KEYS[3], "group", group)
    if state == "aggregating" then
      redis.call("SADD", KEYS[5], group)
    end
  end
  if lock then
    redis.call("SET", lock, id, "EX", lifetime)
    redis.call("HSET", KEYS[3], "unique_key", lock)
  end
end
return 1
