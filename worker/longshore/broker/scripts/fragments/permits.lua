-- What the scripts that give permits begin with. The arithmetic is that of policy/limits.py.
--
-- A limit is kept in two keys beside its queue's:
--   state    hash: "pace" (when the next start would be due, Unix microseconds), "declared" (the limit as a server
--            wrote it last), and for each server that asked lately "asked:<server>": "<when>:<when it last got one>"
--   running  set of the ids that hold one of the limit's places. A place counts while its task has a lease that is not
--            over for longer than the grace: so whatever ends a task gives its place back, once, and a dead worker's
--            places end with its leases. The limit of a whole queue has no such set: every leased task counts.
--
-- The clock is Redis' own. (Since Redis 5 a script's effects are replicated, not its text, so it may read the clock.)
local clock = redis.call("TIME")
local now_s = tonumber(clock[1])
local now_us = now_s * 1000000 + tonumber(clock[2])

local STARVED_US = 500000 -- who has asked in vain for so long, times the number of askers, goes first
local ASKS_STILL_US = 2000000 -- who has not asked for so long has ended, or has no slot free
local KEEP_S = 2592000 -- 30 days: what nobody asks for any more goes away by itself

local function whole(number)
  return string.format("%.0f", number)
end

-- Read a limit. spec: the position in ARGV of: step in microseconds (0: no rate), tolerance in microseconds, places
-- (0: any number), the limit as text. running: nil for the limit of a whole queue.
local function open_limit(state, running, lease, spec, grace_s)
  local known = redis.call("HMGET", state, "pace", "declared")
  local limit = {
    state = state,
    running = running,
    step = tonumber(ARGV[spec]),
    tolerance = tonumber(ARGV[spec + 1]),
    places = tonumber(ARGV[spec + 2]),
    pace = tonumber(known[1] or "0"),
    free = 1000000,
    otherwise = "",
  }
  if known[2] ~= ARGV[spec + 3] then
    limit.otherwise = known[2] or ""
    redis.call("HSET", state, "declared", ARGV[spec + 3])
  end
  redis.call("EXPIRE", state, KEEP_S)
  if limit.places > 0 then
    local valid_from = now_s - grace_s
    local held
    if running then
      held = redis.call("SCARD", running)
      if held >= limit.places then
        for _, id in ipairs(redis.call("SMEMBERS", running)) do
          local ends = redis.call("ZSCORE", lease, id)
          if not ends or tonumber(ends) < valid_from then
            redis.call("SREM", running, id)
            held = held - 1
          end
        end
      end
      redis.call("EXPIRE", running, KEEP_S)
    else
      held = redis.call("ZCOUNT", lease, valid_from, "+inf")
    end
    limit.free = limit.places - held
  end
  return limit
end

-- When the next task may start, by all the limits; nil: not before another has ended, later than the horizon, or later
-- than now when no more tasks may be held until their start (holds). The second value is how long it is till asking
-- again makes sense, microseconds; -1: nobody knows; -2: till one that is held begins.
local function next_start(limits, earliest, horizon_us, holds)
  local start = earliest
  for _, limit in ipairs(limits) do
    if limit.free <= 0 then
      return nil, -1
    end
    if limit.step > 0 then
      start = math.max(start, limit.pace - limit.tolerance)
    end
  end
  if start > now_us + horizon_us then
    return nil, start - now_us - horizon_us
  end
  if start > now_us and holds <= 0 then
    return nil, -2
  end
  return start, 0
end

local function grant(limits, start, id)
  for _, limit in ipairs(limits) do
    limit.free = limit.free - 1
    if limit.step > 0 then
      limit.pace = math.max(limit.pace, start) + limit.step
    end
    if limit.running and limit.places > 0 then
      redis.call("SADD", limit.running, id)
    end
  end
end

local function close_limits(limits)
  for _, limit in ipairs(limits) do
    if limit.step > 0 then
      redis.call("HSET", limit.state, "pace", whole(limit.pace))
      -- it must outlive the last start it has promised
      redis.call("EXPIRE", limit.state, KEEP_S + math.max(0, math.ceil((limit.pace - now_us) / 1000000)))
    end
  end
end

-- The server that goes first instead of this one, or "": one that asks still and has got nothing for too long. So none
-- starves; those that get something now and then compete by chance.
local function goes_first(limit, server)
  local fields = redis.call("HGETALL", limit.state)
  local since, others, longest, first = now_us, 1, now_us, ""
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 6) == "asked:" then
      local asked, got = string.match(fields[i + 1], "^(%d+):(%d+)$")
      asked, got = tonumber(asked), tonumber(got)
      if not asked or asked < now_us - ASKS_STILL_US then
        redis.call("HDEL", limit.state, fields[i])
      elseif fields[i] == "asked:" .. server then
        since = got
      else
        others = others + 1
        if got < longest then
          longest = got
          first = string.sub(fields[i], 7)
        end
      end
    end
  end
  redis.call("HSET", limit.state, "asked:" .. server, whole(now_us) .. ":" .. whole(since))
  return longest < since and longest < now_us - STARVED_US * others and first or ""
end

local function has_got(limit, server)
  redis.call("HSET", limit.state, "asked:" .. server, whole(now_us) .. ":" .. whole(now_us))
end
