-- (after fragments/permits.lua) Take tasks of a limited type out of their line, oldest first, as many as may begin.
--
-- KEYS[1]  asynq:{<queue>}:pending                   list
-- KEYS[2]  asynq:{<queue>}:paused                    string
-- KEYS[3]  asynq:{<queue>}:active                    list
-- KEYS[4]  asynq:{<queue>}:lease                     zset
-- KEYS[5]  asynq:{<queue>}:scheduled                 zset
-- KEYS[6]  longshore:{<queue>}:limit:<name>          hash    see permits.lua
-- KEYS[7]  longshore:{<queue>}:limit-running:<name>  set
-- KEYS[8]  longshore:{<queue>}:limit-line:<name>     zset    see admit.lua
-- KEYS[9]  longshore:{<queue>}:limit-due:<name>      hash
-- KEYS[10] longshore:{<queue>}:lines                 set
-- KEYS[11] longshore:{<queue>}:limit                 hash    the limit of the whole queue; absent when it has none
-- ARGV[1]  most tasks to take                        1 to 1000
-- ARGV[2]  end of the lease                          Unix seconds
-- ARGV[3]  asynq:{<queue>}:t:                        prefix of the tasks' keys
-- ARGV[4]  grace for leases                          seconds
-- ARGV[5]  horizon: how far ahead a start is given   microseconds
-- ARGV[6]  how many tasks may be held until their start
-- ARGV[7]  the server that asks
-- ARGV[8]  the limit's name
-- ARGV[9…12], and with KEYS[11] ARGV[13…16] the limits, as permits.lua reads them
--
-- Reply: {tasks left in the line, how long till asking again makes sense in microseconds (-1: nobody knows, -2: till one that
--        is held begins), the limit as somebody else declared it or "", {id, msg, …} of the tasks taken, {ids without a msg: they are gone},
--        {for each task taken: microseconds until it may begin}, the server that has to be asked instead or ""}.
--
-- Atomic for the reasons in admit.lua and dequeue.lua.
if redis.call("EXISTS", KEYS[2]) == 1 then
  return {redis.call("ZCARD", KEYS[8]), 1000000, "", {}, {}, {}, ""}
end
local limit = open_limit(KEYS[6], KEYS[7], KEYS[4], 9, tonumber(ARGV[4]))
local limits = {limit}
if KEYS[11] then
  limits[2] = open_limit(KEYS[11], nil, KEYS[4], 13, tonumber(ARGV[4]))
end
redis.call("LLEN", KEYS[1]) -- these fail here, before a task is touched, when one is of another type
redis.call("LLEN", KEYS[3])
redis.call("ZCARD", KEYS[5])
redis.call("HLEN", KEYS[9])
redis.call("SCARD", KEYS[10])
local taken, lost, starts, again_us, first = {}, {}, {}, 0, ""
local horizon_us, holds = tonumber(ARGV[5]), tonumber(ARGV[6])
if redis.call("ZCARD", KEYS[8]) > 0 then
  first = goes_first(limit, ARGV[7]) -- which notes the asking, too
  if not next_start(limits, now_us, horizon_us, holds) then
    first = "" -- there is nothing to leave to it
  end
end
if first ~= "" then
  again_us = 30000
else
  for _ = 1, 1000 do -- those that are passed over count, too: a script must not take long
    if #starts == tonumber(ARGV[1]) then
      break
    end
    local start, wait_us = next_start(limits, now_us, horizon_us, holds)
    if not start then
      again_us = wait_us
      break
    end
    local first = redis.call("ZPOPMIN", KEYS[8])
    if #first == 0 then
      break
    end
    local id = first[1]
    local key = ARGV[3] .. id
    local due = redis.call("HGET", KEYS[9], id)
    redis.call("HDEL", KEYS[9], id)
    local score = redis.call("ZSCORE", KEYS[5], id)
    local found = false
    if score then
      -- Another score: the task was deleted, and one of the same id was scheduled for a time of its own.
      if due and tonumber(score) == tonumber(due) then
        redis.call("ZREM", KEYS[5], id)
        found = true
      end
    elseif redis.pcall("HGET", key, "state") == "pending" then
      -- it was due, or somebody told it to run: it is still its turn
      found = redis.call("LREM", KEYS[1], -1, id) == 1
    end
    if found then
      local msg = redis.pcall("HGET", key, "msg")
      if type(msg) == "string" then
        redis.call("HSET", key, "state", "active")
        redis.call("HDEL", key, "pending_since")
        redis.call("LPUSH", KEYS[3], id)
        redis.call("ZADD", KEYS[4], ARGV[2], id)
        grant(limits, start, id)
        holds = holds - (start > now_us and 1 or 0)
        taken[#taken + 1] = id
        taken[#taken + 1] = msg
        starts[#starts + 1] = start - now_us
      else
        if not msg then
          redis.call("DEL", key)
        end
        lost[#lost + 1] = id
      end
    end
  end
  if #starts > 0 then
    has_got(limit, ARGV[7])
    close_limits(limits)
  end
end
local left = redis.call("ZCARD", KEYS[8])
if left == 0 then
  redis.call("SREM", KEYS[10], ARGV[8])
end
return {left, again_us, limit.otherwise, taken, lost, starts, first}
