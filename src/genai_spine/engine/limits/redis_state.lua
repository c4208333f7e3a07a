-- Decisions over limits, each in one step of the server: what `policy/limits.py` and `policy/concurrency.py` do in
-- one process. Amounts are in 1/60,000,000, moments in microseconds of the server's clock. Numbers are doubles, so
-- they are exact to 2^53: limits to 150 million a minute.
--
--   ARGV[1..3]  what to do, the call's id, the process's id
--   take        of each bucket: kind, limit, amount, mine, more
--               -> {1, end, born, …} or {0, wait, …}; a wait of -1 is of unknown length
--   settle      of each bucket: kind, limit, amount, used, end, born
--   renew       the ids of the calls that hold the places KEYS
--   share       KEYS: a topic and its processes; what this process tells -> what all tell
--
-- A bucket keeps the processes that it knows. To one that it does not know, as after it was lost, it adds what that
-- process has taken by itself (`mine`); `more` is what a process gave out while it could not ask. Born is when it was
-- first used, or used again after it was lost: what was taken of it before cannot be given back.

local PART = 60000000
local LEASE = 15000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function rate_of(key, limit)
  local h = redis.call('HMGET', key, 'used', 'at', 'flowed', 'born')
  if not h[1] then
    return {used = 0, flowed = 0, born = string.format('%.0f', now)}
  end
  local rate = {used = tonumber(h[1]), flowed = tonumber(h[3]), born = h[4]}
  local elapsed = now - tonumber(h[2])
  if elapsed > 0 then
    rate.flowed = rate.flowed + elapsed * limit
    rate.used = math.max(0, rate.used - elapsed * limit)
  end
  return rate
end

local function keep(key, limit, rate)
  redis.call('HSET', key, 'used', string.format('%.0f', rate.used), 'at', string.format('%.0f', now),
    'flowed', string.format('%.0f', rate.flowed), 'born', rate.born)
  redis.call('PEXPIRE', key, math.ceil(rate.used / limit / 1000) + 60000)
end

-- What a process took without asking fills the bucket up; it never makes debt.
local function restore(key, rate, limit, mine, more)
  local is_new = redis.call('HSETNX', key, 'by:' .. ARGV[3], 1) == 1
  local unknown = is_new and mine or more
  rate.used = math.max(rate.used, math.min(rate.used + unknown, limit * PART))
end

local function wait_for_place(key, limit, mine)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return math.max(redis.call('ZCARD', key), mine) < limit and 0 or -1
end

local function wait_for_rate(rate, limit, amount)
  return math.max(0, math.ceil((rate.used + (math.min(amount, limit) - limit) * PART) / limit))
end

local function take()
  local waits, rates, has_room = {0}, {}, true
  for i, key in ipairs(KEYS) do
    local kind, limit, amount, mine, more = unpack(ARGV, 5 * i - 1, 5 * i + 3)
    limit, amount, mine, more = tonumber(limit), tonumber(amount), tonumber(mine), tonumber(more)
    if kind == 'places' then
      waits[i + 1] = wait_for_place(key, limit, mine)
    else
      rates[i] = rate_of(key, limit)
      restore(key, rates[i], limit, mine, more)
      waits[i + 1] = wait_for_rate(rates[i], limit, amount)
    end
    has_room = has_room and waits[i + 1] == 0
  end
  local answer = {1}
  for i, key in ipairs(KEYS) do
    local limit, amount, rate = tonumber(ARGV[5 * i]), tonumber(ARGV[5 * i + 1]), rates[i]
    if rate then
      if has_room then rate.used = rate.used + math.min(amount, limit) * PART end
      keep(key, limit, rate)
      answer[2 * i], answer[2 * i + 1] = string.format('%.0f', rate.used + rate.flowed), rate.born
    else
      if has_room then
        redis.call('ZADD', key, now + LEASE, ARGV[2])
        redis.call('PEXPIRE', key, 2 * LEASE / 1000)
      end
      answer[2 * i], answer[2 * i + 1] = '0', ''
    end
  end
  return has_room and answer or waits
end

local function settle()
  for i, key in ipairs(KEYS) do
    local kind, limit, amount, used, last, born = unpack(ARGV, 6 * i - 2, 6 * i + 3)
    limit = tonumber(limit)
    if kind == 'places' then
      redis.call('ZREM', key, ARGV[2])
    else
      local too_much = (math.min(tonumber(amount), limit) - tonumber(used)) * PART
      local rate = rate_of(key, limit)
      if too_much > 0 then
        local left = rate.born == born and tonumber(last) - rate.flowed or 0
        too_much = math.max(0, math.min(too_much, left, rate.used))
        rate.flowed = rate.flowed + too_much
      end
      rate.used = rate.used - too_much
      if too_much ~= 0 then keep(key, limit, rate) end
    end
  end
  return {}
end

-- A process that has told nothing for a lease is forgotten.
local function share()
  local topic, processes = KEYS[1], KEYS[2]
  redis.call('ZADD', processes, now, ARGV[3])
  redis.call('HSET', topic, ARGV[3], ARGV[4])
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', processes, '-inf', now - LEASE)) do
    redis.call('HDEL', topic, gone)
    redis.call('ZREM', processes, gone)
  end
  redis.call('PEXPIRE', topic, LEASE / 1000)
  redis.call('PEXPIRE', processes, LEASE / 1000)
  return redis.call('HGETALL', topic)
end

-- The places that calls of this process hold are theirs for another lease.
local function renew()
  for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + LEASE, ARGV[i + 3])
    redis.call('PEXPIRE', key, 2 * LEASE / 1000)
  end
  return {}
end

return ({take = take, settle = settle, share = share, renew = renew})[ARGV[1]]()
