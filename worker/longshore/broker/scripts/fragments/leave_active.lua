-- Take an id out of an active list; whether it was there.
--
-- Redis looks for it one by one, some 30 ns each. In a short list it hardly matters from which end. In a long one most of
-- those that end lie near one of the two: near the tail when all last about as long, as the first taken end first; near
-- the head when short tasks come and go beside thousands that last. So both ends are tried in growing steps, that first
-- where the last one was.
local leave_active_from, leave_active_length = -1, nil
local function leave_active(list, id)
  leave_active_length = leave_active_length or redis.call("LLEN", list)
  local window = 256
  while window < leave_active_length do
    for _ = 1, 2 do
      if redis.call("LPOS", list, id, "RANK", leave_active_from, "MAXLEN", window) then
        return redis.call("LREM", list, leave_active_from, id) == 1
      end
      leave_active_from = -leave_active_from
    end
    window = window * 8
  end
  return redis.call("LREM", list, leave_active_from, id) == 1
end
