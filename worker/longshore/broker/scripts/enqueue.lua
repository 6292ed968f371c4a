-- Create tasks of one queue, in order: each is pending, waits for its time, or waits in a group. One that has a unique
-- lock takes it first.
--
-- KEYS[1] asynq:{<queue>}:pending             list
-- KEYS[2] asynq:{<queue>}:scheduled           zset
-- KEYS[3] asynq:{<queue>}:groups              set
-- KEYS[4] longshore:{<queue>}:sent:<sender>   string; absent when the call need not be recognised
-- ARGV[1] asynq:{<queue>}:t:                  prefix of the tasks' keys
-- ARGV[2] asynq:{<queue>}:g:                  prefix of the groups' keys
-- ARGV[3] now                                 Unix nanoseconds
-- ARGV[4] now                                 Unix seconds
-- ARGV[5] containers                          which of the first three keys are used, such as "13"
-- ARGV[6] number                              of the call among its sender's; "" without KEYS[4]
-- ARGV[7] lifetime of KEYS[4]                 seconds; "" without KEYS[4]
-- ARGV[8…] for each task: id, msg, and its kind with what belongs to it:
--          "p" pending
--          "s" scheduled: when due, Unix seconds
--          "g" in a group: the group's name
--          "d" scheduled, then in a group: when due, the group's name
--          a capital of these: then also the lock's key, and the lock's lifetime in seconds
--
-- Reply: one character a task.
--        "1" created
--        "0" a task of that id exists; nothing was written
--        "-" the lock is held; nothing was written
--        "w" the group's key is of another type; nothing was written
--
-- Atomic so that two producers of one id, or of one lock, cannot both succeed, and so that an id is never visible in a
-- container without its hash. A call that comes twice, because its first reply was lost, is carried out once: the second
-- is given the first's reply, whatever has become of the tasks. A sender has one call under way at a time, so remembering
-- its last is enough.
--
-- Unlike Asynq's: an id conflict leaves no lock behind, the hash of a task in a group names its lock, so that deleting
-- the task frees it, and that of a scheduled task names its group, so that it joins the group when it is due.
local sent, number = KEYS[4], ARGV[6] .. " "
if sent then
  local last = redis.pcall("GET", sent)
  if type(last) == "string" and string.sub(last, 1, #number) == number then
    return string.sub(last, #number + 1)
  end
end
-- Redis undoes nothing when a script fails: a container of another type must fail before the first write.
for position in string.gmatch(ARGV[5], "%d") do
  redis.call(position == "1" and "LLEN" or position == "2" and "ZCARD" or "SCARD", KEYS[tonumber(position)])
end

local replies, pending = {}, {}
local i = 8
while ARGV[i] do
  local id, msg, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  i = i + 3
  local key = ARGV[1] .. id
  local reply = "1"
  if kind == "p" then -- nearly every task
    if redis.call("EXISTS", key) == 1 then
      reply = "0"
    else
      redis.call("HSET", key, "msg", msg, "state", "pending", "pending_since", ARGV[3])
      pending[#pending + 1] = id
    end
  else
    local route = string.lower(kind)
    local due, group, lock, lifetime
    if route == "s" or route == "d" then
      due, i = ARGV[i], i + 1
    end
    if route == "g" or route == "d" then
      group, i = ARGV[i], i + 1
    end
    if route ~= kind then
      lock, lifetime, i = ARGV[i], ARGV[i + 1], i + 2
    end
    if lock and redis.call("EXISTS", lock) == 1 then
      reply = "-"
    elseif redis.call("EXISTS", key) == 1 then
      reply = "0"
    elseif route == "p" then
      redis.call("HSET", key, "msg", msg, "state", "pending", "pending_since", ARGV[3])
      pending[#pending + 1] = id
    elseif due then
      redis.call("ZADD", KEYS[2], due, id)
      redis.call("HSET", key, "msg", msg, "state", "scheduled")
      if group then
        redis.call("HSET", key, "group", group)
      end
    else
      local added = redis.pcall("ZADD", ARGV[2] .. group, ARGV[4], id)
      if type(added) == "table" then
        reply = "w"
      else
        redis.call("SADD", KEYS[3], group)
        redis.call("HSET", key, "msg", msg, "state", "aggregating", "group", group)
      end
    end
    if lock and reply == "1" then
      redis.call("SET", lock, id, "EX", lifetime)
      redis.call("HSET", key, "unique_key", lock)
    end
  end
  replies[#replies + 1] = reply
end
if #pending > 0 then
  redis.call("LPUSH", KEYS[1], unpack(pending))
end
local reply = table.concat(replies)
if sent then
  redis.call("SET", sent, number .. reply, "EX", ARGV[7])
end
return reply
