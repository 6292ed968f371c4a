-- (after fragments/permits.lua) Let active tasks of a limited type begin, or stand in the line of those that wait.
--
-- KEYS[1] asynq:{<queue>}:scheduled                 zset
-- KEYS[2] asynq:{<queue>}:active                    list
-- KEYS[3] asynq:{<queue>}:lease                     zset
-- KEYS[4] longshore:{<queue>}:limit:<name>          hash    see permits.lua
-- KEYS[5] longshore:{<queue>}:limit-running:<name>  set
-- KEYS[6] longshore:{<queue>}:limit-line:<name>     zset    id to its place: when it joined, Unix microseconds
-- KEYS[7] longshore:{<queue>}:limit-due:<name>      hash    id to the score it was given in KEYS[1]
-- KEYS[8] longshore:{<queue>}:lines                 set     names of the limits that have a line
-- ARGV[1] asynq:{<queue>}:t:                        prefix of the tasks' keys
-- ARGV[2] grace for leases                          seconds
-- ARGV[3] horizon: how far ahead a start is given   microseconds
-- ARGV[4] how many tasks may be held until their start
-- ARGV[5] the limit's name
-- ARGV[6…9] the limit, as permits.lua reads it
-- ARGV[10…] for each task: id, the end of its lease as the caller got it in Unix seconds, how long it has to wait for
--          another limit's sake in microseconds
--
-- Reply: {tasks in the line, the limit as somebody else declared it or "", then for each task: microseconds until it
--        may begin, or -1 when it stands in the line now, or -2 when it is not the caller's any more}.
--
-- Atomic so that a task that has to wait is never in two containers or none, that no two servers take the same place,
-- and that who came first goes first: nobody passes a line. A task in it is scheduled, with nothing else changed. It
-- is taken out by take_from_line.lua; the due time is for the case that no server with this limit is left.
local limit = open_limit(KEYS[4], KEYS[5], KEYS[3], 6, tonumber(ARGV[2]))
local limits, horizon_us, holds = {limit}, tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call("ZCARD", KEYS[1]) -- fails here, before a task is touched, when it is of another type
redis.call("HLEN", KEYS[7])
redis.call("SCARD", KEYS[8])
local length = redis.call("ZCARD", KEYS[6])
local reply = {0, limit.otherwise}
for i = 10, #ARGV, 3 do
  local id = ARGV[i]
  local score = redis.call("ZSCORE", KEYS[3], id)
  if not score or tonumber(score) ~= tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = -2
  else
    local place = length > 0 and redis.call("ZRANK", KEYS[6], id)
    -- It holds a place already when the reply to this call was lost, or a place of its last attempt was not missed yet.
    -- The set never has more members than there are places, so it may keep it.
    local mine = limit.places > 0 and redis.call("SISMEMBER", KEYS[5], id) == 1
    if mine then
      limit.free = limit.free + 1
    end
    local start = nil
    if length == 0 or place == 0 or mine then
      start = next_start(limits, now_us + tonumber(ARGV[i + 2]), horizon_us, holds)
    end
    if start then
      grant(limits, start, id)
      holds = holds - (start > now_us and 1 or 0)
      if place then
        redis.call("ZREM", KEYS[6], id)
        redis.call("HDEL", KEYS[7], id)
        length = length - 1
      end
      reply[#reply + 1] = start - now_us
    elseif redis.call("LREM", KEYS[2], -1, id) == 0 then
      reply[#reply + 1] = -2
    else
      redis.call("ZREM", KEYS[3], id)
      if mine then
        redis.call("SREM", KEYS[5], id)
      end
      local before = place or length
      if not place then
        redis.call("ZADD", KEYS[6], whole(now_us + i), id)
        length = length + 1
      end
      -- When it should have been taken out long ago: after all those before it, and half a minute; a minute, and a
      -- second for each that runs before it, when others must end first.
      local wait_us = 30000000
      if limit.step > 0 then
        wait_us = wait_us + math.max(0, limit.pace - limit.tolerance - now_us) + before * limit.step
      end
      if limit.places > 0 then
        wait_us = wait_us + 30000000 + before / limit.places * 1000000
      end
      local due = whole(math.ceil((now_us + wait_us) / 1000000))
      local key = ARGV[1] .. id
      redis.call("HSET", KEYS[7], id, due)
      redis.call("ZADD", KEYS[1], due, id)
      redis.call("HSET", key, "state", "scheduled")
      redis.call("HDEL", key, "group") -- it has left its group; the due time must not lead it back there
      reply[#reply + 1] = -1
    end
  end
end
close_limits(limits)
if length > 0 then
  redis.call("SADD", KEYS[8], ARGV[5])
end
reply[1] = length
return reply
